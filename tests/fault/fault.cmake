# The N-th call of the backing fails (support/simfs.h), judged by a model (support/world.h).
dv_unit_test(nth_call FILE fault/test_nth_call.c LABEL fault TIMEOUT 600 MODULES store
	SOURCES ${simfs} support/model.c support/world.c support/world_check.c)
dv_unit_test(nth_others FILE fault/test_nth_others.c LABEL fault TIMEOUT 600 MODULES import store
	SOURCES ${simfs})

# The same for allocations: those of core/ go through the test (--wrap), those of its own sources do not.
dv_unit_test(nth_alloc FILE fault/test_nth_alloc.c LABEL fault TIMEOUT 600 MODULES store
	SOURCES ${simfs} support/model.c support/world.c support/world_check.c)
foreach(function malloc calloc realloc strdup strndup asprintf)
	target_compile_definitions(test_nth_alloc PRIVATE ${function}=__real_${function})
	target_link_options(test_nth_alloc PRIVATE -Wl,--wrap=${function})
endforeach()
target_link_options(test_nth_alloc PRIVATE -Wl,--wrap=ZSTD_createCCtx -Wl,--wrap=ZSTD_createDCtx)
