# The library as programs see it: its header, and the shared object alone.
function(dv_library_test name)
	add_executable(test_${name} unit/test_${name}.c)
	target_link_libraries(test_${name} PRIVATE diskvfs_flags diskvfs_shared)
	add_test(NAME unit/${name} COMMAND test_${name})
	set_tests_properties(unit/${name} PROPERTIES LABELS unit TIMEOUT 120)
endfunction()
dv_library_test(library)
dv_library_test(library_keys)
