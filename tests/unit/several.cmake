# Several mounts of one store.
dv_unit_test(several MODULES store SOURCES ${simfs})
dv_unit_test(hosts MODULES store SOURCES ${simfs})
# Mounts that start at the same time after a kill.
add_test(NAME unit/hosts_race COMMAND test_hosts --race)
set_tests_properties(unit/hosts_race PROPERTIES LABELS slow TIMEOUT 600)
