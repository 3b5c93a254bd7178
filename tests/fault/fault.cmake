# The N-th call of the backing fails (support/simfs.h), judged by a model (support/world.h).
dv_unit_test(nth_call FILE fault/test_nth_call.c LABEL fault TIMEOUT 600 MODULES store
	SOURCES ${simfs} support/model.c support/world.c support/world_check.c)
