# Several mounts of one store.
dv_unit_test(several MODULES store SOURCES ${simfs})
dv_unit_test(rival MODULES store SOURCES ${simfs})
dv_unit_test(hosts MODULES store SOURCES ${simfs})
# Mounts that start at the same time after a kill.
add_test(NAME unit/hosts_race COMMAND test_hosts --race)
set_tests_properties(unit/hosts_race PROPERTIES LABELS slow TIMEOUT 120)
# What one does at each call of the other.
dv_unit_test(interleave MODULES store SOURCES unit/interleave.c ${simfs})
set_tests_properties(unit/interleave PROPERTIES LABELS slow TIMEOUT 1200)
# Labelled mount, so not run under the sanitizers: how long the store waits for another mount is bounded
# in time, and a slow one gives up.
foreach(part replace rename,remove edit,append,create,pack unpack,move packer streams gzip)
	string(REPLACE "," "_" name ${part})
	add_test(NAME unit/interleave_${name} COMMAND test_interleave ${part})
	set_tests_properties(unit/interleave_${name} PROPERTIES LABELS "mount;slow" TIMEOUT 300)
endforeach()
add_test(NAME unit/interleave_stopped_quick COMMAND test_interleave streams stopped rename)
set_tests_properties(unit/interleave_stopped_quick PROPERTIES LABELS mount TIMEOUT 120)
foreach(part cut gzip,cut streams,cut streams,stopped)
	string(REPLACE "," "_" name ${part})
	string(REPLACE "," ";" words ${part})
	add_test(NAME unit/interleave_${name} COMMAND test_interleave ${words})
	set_tests_properties(unit/interleave_${name} PROPERTIES LABELS "mount;slow" TIMEOUT 3600)
endforeach()
