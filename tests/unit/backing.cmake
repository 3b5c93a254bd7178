dv_unit_test(backing MODULES backing SOURCES support/simfs.c)
dv_unit_test(simfs MODULES backing SOURCES support/simfs.c)
