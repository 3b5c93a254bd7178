# Power cuts and kills at every step, judged by a model (support/world.h).
set(world ${simfs} support/model.c support/world.c support/world_check.c)
dv_unit_test(kill FILE crash/test_kill.c LABEL crash TIMEOUT 1200 MODULES store SOURCES ${world})
dv_unit_test(power_cut FILE crash/test_power_cut.c LABEL crash TIMEOUT 1200 MODULES store SOURCES ${world})
dv_unit_test(mutation FILE crash/test_mutation.c LABEL crash TIMEOUT 1200 MODULES store SOURCES ${world})
dv_unit_test(exchanged FILE crash/test_exchanged.c LABEL crash TIMEOUT 1200 MODULES store SOURCES ${world})
dv_unit_test(syncs FILE crash/test_syncs.c LABEL crash MODULES store SOURCES ${world})
# The same, long: every call of recovery, 400 random scripts.
foreach(name kill power_cut)
	add_test(NAME crash/${name}_long COMMAND test_${name} --slow)
	set_tests_properties(crash/${name}_long PROPERTIES LABELS slow TIMEOUT 7200)
endforeach()

if(NOT TARGET diskvfs)
	return()
endif()

# On real filesystems, whose disk is recorded.
add_executable(recorder support/recorder.c)
target_link_libraries(recorder PRIVATE diskvfs_flags PkgConfig::FUSE3)
add_library(broken_sync MODULE support/broken_sync.c)
target_link_libraries(broken_sync PRIVATE diskvfs_flags)
# dv_device_test(NAME LABEL TIMEOUT VAR=value...): crash/device.sh
function(dv_device_test name label timeout)
	math(EXPR last_resort "${timeout} + 60")
	add_test(NAME crash/${name}
		COMMAND timeout --kill-after=30 ${timeout} bash ${PROJECT_SOURCE_DIR}/tests/crash/device.sh)
	set_tests_properties(crash/${name} PROPERTIES LABELS ${label} TIMEOUT ${last_resort} SKIP_RETURN_CODE 77
		ENVIRONMENT "DISKVFS=$<TARGET_FILE:diskvfs>;RECORDER=$<TARGET_FILE:recorder>;BROKEN_SYNC=$<TARGET_FILE:broken_sync>;${ARGN}")
endfunction()

dv_device_test(device crash 300)
if(NOT DISKVFS_SANITIZE) # what is preloaded would come before the sanitizer
	dv_device_test(device_mutation crash 300 SEEDS=0 "MUTANTS=stage record value names swap")
	dv_device_test(device_mutation_all slow 1800 SEEDS=0 "FILESYSTEMS=ext4 xfs btrfs" "MUTANTS=stage record value names swap")
endif()
dv_device_test(device_long slow 14400 "FILESYSTEMS=ext4 xfs btrfs" SEEDS=20 STEPS=150 POINTS=0)
