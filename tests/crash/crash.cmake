# Power cuts and kills at every step, judged by a model (support/world.h).
set(world ${simfs} support/model.c support/world.c support/world_check.c)
dv_unit_test(kill FILE crash/test_kill.c LABEL crash TIMEOUT 1200 MODULES store SOURCES ${world})
dv_unit_test(power_cut FILE crash/test_power_cut.c LABEL crash TIMEOUT 1200 MODULES store SOURCES ${world})
dv_unit_test(mutation FILE crash/test_mutation.c LABEL crash TIMEOUT 1200 MODULES store SOURCES ${world})
dv_unit_test(syncs FILE crash/test_syncs.c LABEL crash MODULES store SOURCES ${world})
# The same, long: every call of recovery, 400 random scripts.
foreach(name kill power_cut)
	add_test(NAME crash/${name}_long COMMAND test_${name} --slow)
	set_tests_properties(crash/${name}_long PROPERTIES LABELS slow TIMEOUT 7200)
endforeach()
