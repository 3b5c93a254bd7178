# The library as programs see it: its header, and the shared object alone.
function(dv_library_test name)
	add_executable(test_${name} unit/test_${name}.c)
	target_link_libraries(test_${name} PRIVATE diskvfs_flags diskvfs_shared)
	add_test(NAME unit/${name} COMMAND test_${name})
	set_tests_properties(unit/${name} PROPERTIES LABELS unit TIMEOUT 120)
endfunction()
dv_library_test(library)
dv_library_test(library_keys)
dv_library_test(library_extras)
dv_library_test(library_many)
dv_library_test(library_streams)
# With the library's objects, so that reads of directories can be counted.
dv_unit_test(library_large MODULES lib LIBS -Wl,--wrap=dv_backing_posix)
add_test(NAME unit/library_1m COMMAND test_library_large)
set_tests_properties(unit/library_1m PROPERTIES LABELS slow TIMEOUT 1200 ENVIRONMENT KEYS=1000000)
# As it is installed, with diskv's examples, in C and C++.
add_test(NAME unit/library_examples
	COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/examples/examples.sh ${CMAKE_BINARY_DIR}
		${CMAKE_CURRENT_SOURCE_DIR}/examples)
set_tests_properties(unit/library_examples PROPERTIES LABELS unit TIMEOUT 300 SKIP_RETURN_CODE 77
	ENVIRONMENT "CC=${CMAKE_C_COMPILER};SANITIZE=${DISKVFS_SANITIZE}")
