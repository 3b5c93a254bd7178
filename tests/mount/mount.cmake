# Tests on a real mount: tests/mount/NAME.sh, run with harness.sh.
if(NOT TARGET diskvfs)
	return()
endif()

# dv_mount_test(NAME [LABELS label...] [TIMEOUT seconds] [ENV VAR=value...] [SCRIPT name])
# Label mount is always there; brief: also runs under the sanitizers. SCRIPT runs NAME with another
# script's text (and another ENV). timeout(1) ends the script gently, so that it can clean up, before
# ctest would kill it.
function(dv_mount_test name)
	cmake_parse_arguments(T "" "TIMEOUT;SCRIPT" "LABELS;ENV" ${ARGN})
	if(NOT T_TIMEOUT)
		set(T_TIMEOUT 120)
	endif()
	if(NOT T_SCRIPT)
		set(T_SCRIPT ${name})
	endif()
	if(NOT "slow" IN_LIST T_LABELS)
		list(APPEND T_LABELS mount)
	endif()
	math(EXPR last_resort "${T_TIMEOUT} + 60")
	add_test(NAME mount/${name}
		COMMAND timeout --kill-after=30 ${T_TIMEOUT} bash ${PROJECT_SOURCE_DIR}/tests/mount/${T_SCRIPT}.sh)
	set_tests_properties(mount/${name} PROPERTIES
		LABELS "${T_LABELS}" TIMEOUT ${last_resort} SKIP_RETURN_CODE 77
		ENVIRONMENT "DISKVFS=$<TARGET_FILE:diskvfs>;${T_ENV}")
endfunction()

dv_mount_test(cli LABELS brief)
dv_mount_test(roundtrip LABELS brief TIMEOUT 300)
dv_mount_test(budgets)
dv_mount_test(replace LABELS brief)
dv_mount_test(kill9 LABELS brief TIMEOUT 300)
dv_mount_test(damage LABELS brief TIMEOUT 300)
dv_mount_test(transforms LABELS brief TIMEOUT 300)
dv_mount_test(ownership LABELS brief)
dv_mount_test(remount LABELS brief)
dv_mount_test(nodes LABELS brief)
dv_mount_test(nodes_50k SCRIPT nodes ENV NODES_FILES=50000 NODES_MAX=4096)
add_library(no_prune MODULE mount/no_prune.c)
target_link_libraries(no_prune PRIVATE diskvfs_flags)
dv_mount_test(nodes_by_name SCRIPT nodes ENV NODES_PRELOAD=$<TARGET_FILE:no_prune>)
dv_mount_test(replace_100k SCRIPT replace LABELS slow TIMEOUT 3600 ENV REPLACEMENTS=100000)

dv_mount_test(space)
dv_mount_test(readonly LABELS brief)
dv_mount_test(two_mounts LABELS brief)
dv_mount_test(storm LABELS brief TIMEOUT 180)
dv_mount_test(user)
dv_mount_test(user_store)
dv_mount_test(stale)
dv_mount_test(memory)

dv_mount_test(kill9_200 SCRIPT kill9 LABELS slow TIMEOUT 1800 ENV ROUNDS=200)
dv_mount_test(roundtrip_all SCRIPT roundtrip LABELS slow TIMEOUT 1800 ENV SOURCE_MB=1000)
dv_mount_test(two_mounts_long SCRIPT two_mounts LABELS slow TIMEOUT 900 ENV SECONDS_LONG=120)
dv_mount_test(nodes_1m SCRIPT nodes LABELS slow TIMEOUT 1800 ENV NODES_FILES=1000000 NODES_MAX=65536)
dv_mount_test(memory_2g SCRIPT memory LABELS slow TIMEOUT 1800 ENV MEMORY_MB=2048 MEMORY_NAMES=200000)
dv_mount_test(storm_long SCRIPT storm LABELS slow TIMEOUT 1200 ENV STORM_SECONDS=150)
