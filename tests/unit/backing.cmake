dv_unit_test(backing MODULES backing SOURCES ${simfs})
dv_unit_test(simfs MODULES backing SOURCES ${simfs})
