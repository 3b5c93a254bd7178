# Real programs on a mount: tests/apps/NAME.sh, run with tests/mount/harness.sh.
if(NOT TARGET diskvfs)
	return()
endif()

# dv_app_test(NAME [SCRIPT name] [SLOW] [TIMEOUT seconds] [ENV VAR=value...]): label apps, or slow.
function(dv_app_test name)
	cmake_parse_arguments(T "SLOW" "SCRIPT;TIMEOUT" "ENV" ${ARGN})
	if(NOT T_SCRIPT)
		set(T_SCRIPT ${name})
	endif()
	if(NOT T_TIMEOUT)
		set(T_TIMEOUT 300)
	endif()
	set(label apps)
	if(T_SLOW)
		set(label slow)
	endif()
	math(EXPR last_resort "${T_TIMEOUT} + 60")
	add_test(NAME apps/${name}
		COMMAND timeout --kill-after=30 ${T_TIMEOUT} bash ${PROJECT_SOURCE_DIR}/tests/apps/${T_SCRIPT}.sh)
	set_tests_properties(apps/${name} PROPERTIES
		LABELS ${label} TIMEOUT ${last_resort} SKIP_RETURN_CODE 77
		ENVIRONMENT "DISKVFS=$<TARGET_FILE:diskvfs>;${T_ENV}")
endfunction()

set(apps archives backup build databases editing git layers night postgres rsync sqlite storecopy stress sync tools transfers)
foreach(app ${apps})
	dv_app_test(${app})
endforeach()

# The same on other filesystems, and with other options; more of it.
foreach(app ${apps})
	foreach(backing ext4 xfs btrfs)
		dv_app_test(${app}_${backing} SCRIPT ${app} SLOW TIMEOUT 900 ENV APPS_BACKING=${backing})
	endforeach()
	dv_app_test(${app}_settle SCRIPT ${app} SLOW TIMEOUT 900 ENV "APPS_OPTIONS=settle=1,coherence=0")
	dv_app_test(${app}_large SCRIPT ${app} SLOW TIMEOUT 1800 ENV APPS_SCALE=5)
endforeach()

# diskv itself, by its own library in Go.
dv_app_test(diskv ENV DISKV_BUILD=${CMAKE_BINARY_DIR}/go)
dv_app_test(diskv_large SCRIPT diskv SLOW TIMEOUT 1800 ENV APPS_SCALE=5 DISKV_BUILD=${CMAKE_BINARY_DIR}/go)
dv_app_test(diskv_page ENV DISKV_BUILD=${CMAKE_BINARY_DIR}/go)
dv_app_test(night_100k SCRIPT night SLOW TIMEOUT 5400 ENV NIGHT_FILES=100000)
dv_app_test(tools_user SCRIPT tools SLOW TIMEOUT 900 ENV APPS_AS=user)
