# Fuzz targets: fuzz/NAME.c defines LLVMFuzzerTestOneInput. Each becomes replay_NAME, which the test
# fuzz/NAME runs over the kept inputs in fuzz/corpus/NAME. With clang and -DDISKVFS_FUZZ=ON it
# becomes NAME as well, a libFuzzer program:  NAME -max_total_time=60 NEW_DIR tests/fuzz/corpus/NAME
option(DISKVFS_FUZZ "Build the libFuzzer programs (clang)" OFF)

# dv_fuzz_target(NAME modules... [SOURCES files of tests/])
function(dv_fuzz_target name)
	cmake_parse_arguments(T "" "" "SOURCES" ${ARGN})
	set(closure "")
	foreach(module ${T_UNPARSED_ARGUMENTS})
		get_property(below GLOBAL PROPERTY DV_CLOSURE_${module})
		list(APPEND closure ${below})
	endforeach()
	list(REMOVE_DUPLICATES closure)
	set(objects "")
	set(sources "")
	foreach(module ${closure})
		list(APPEND objects $<TARGET_OBJECTS:dv_${module}>)
		get_target_property(files dv_${module} SOURCES)
		list(TRANSFORM files PREPEND ${PROJECT_SOURCE_DIR}/core/)
		list(APPEND sources ${files})
	endforeach()

	add_executable(replay_${name} fuzz/${name}.c fuzz/replay.c ${T_SOURCES} ${objects})
	target_link_libraries(replay_${name} PRIVATE diskvfs_flags PkgConfig::ZSTD PkgConfig::ZLIB PkgConfig::CRYPTO)
	file(GLOB inputs CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name}/*)
	add_test(NAME fuzz/${name} COMMAND replay_${name} ${inputs})
	set_tests_properties(fuzz/${name} PROPERTIES LABELS fuzz TIMEOUT 60)

	if(DISKVFS_FUZZ)
		# The modules are compiled anew: they need the coverage marks.
		add_executable(${name} fuzz/${name}.c ${T_SOURCES} ${sources})
		target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
		target_link_options(${name} PRIVATE -fsanitize=fuzzer)
		target_link_libraries(${name} PRIVATE diskvfs_flags PkgConfig::ZSTD PkgConfig::ZLIB PkgConfig::CRYPTO)
	endif()
endfunction()

dv_fuzz_target(fuzz_table format)
dv_fuzz_target(fuzz_decode codec)
dv_fuzz_target(fuzz_inflate deflate)
dv_fuzz_target(fuzz_config config)
dv_fuzz_target(fuzz_names key)
dv_fuzz_target(fuzz_store verify SOURCES ${simfs})
