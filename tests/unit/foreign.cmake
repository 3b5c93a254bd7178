# zstd files of other makers, and mutations of them.
dv_unit_test(foreign MODULES store SOURCES unit/foreign_kinds.c ${simfs} TIMEOUT 300)
add_test(NAME unit/foreign_50000 COMMAND test_foreign mutations)
set_tests_properties(unit/foreign_50000 PROPERTIES LABELS slow TIMEOUT 3600
	ENVIRONMENT "MUTATIONS=50000;SEED=1")
# Folders with files of other makers that become stores.
dv_unit_test(adopt MODULES store SOURCES ${simfs})
dv_unit_test(twin MODULES store SOURCES ${simfs})
# All of a store is checked, and mended.
dv_unit_test(verify MODULES verify SOURCES unit/verify_fixture.c unit/foreign_kinds.c ${simfs} TIMEOUT 300)
dv_unit_test(verify_crafted MODULES verify SOURCES unit/verify_fixture.c unit/foreign_kinds.c ${simfs} TIMEOUT 300)
dv_unit_test(verify_repair MODULES verify SOURCES unit/verify_fixture.c ${simfs} TIMEOUT 300)
