# The mount beside a plain directory: what it does must be the same.
if(NOT TARGET diskvfs)
	return()
endif()

foreach(name exerciser data_exerciser)
	file(GLOB sources CONFIGURE_DEPENDS mount/${name}/*.c)
	add_executable(${name} ${sources} mount/shrink_list.c)
	target_link_libraries(${name} PRIVATE diskvfs_flags)
endforeach()
add_executable(semantics mount/semantics.c mount/semantics_calls.c)
target_link_libraries(semantics PRIVATE diskvfs_flags)
add_executable(lister mount/lister.c)
target_link_libraries(lister PRIVATE diskvfs_flags)
set(exercisers EXERCISER=$<TARGET_FILE:exerciser> DATA_EXERCISER=$<TARGET_FILE:data_exerciser>)

dv_mount_test(semantics TIMEOUT 300 ENV SEMANTICS=$<TARGET_FILE:semantics>)
dv_mount_test(semantics_ext4 SCRIPT semantics TIMEOUT 300
	ENV SEMANTICS=$<TARGET_FILE:semantics> BACKING=ext4)
set(lister LISTER=$<TARGET_FILE:lister>)
dv_mount_test(listing TIMEOUT 300 ENV ${lister})
dv_mount_test(listing_ext4 SCRIPT listing LABELS slow TIMEOUT 900
	ENV ${lister} BACKING=ext4 LISTING_CHANGES=wear LISTING_STAY=20000 LISTING_COME=20000)
dv_mount_test(listing_1m SCRIPT listing LABELS slow TIMEOUT 5400
	ENV ${lister} LISTING_STAY=20000 LISTING_COME=1000000)
dv_mount_test(exerciser LABELS brief TIMEOUT 600 ENV ${exercisers} SEED=1)
dv_mount_test(steps LABELS brief TIMEOUT 300 ENV ${exercisers} BACKING=ext4)
dv_mount_test(data_exerciser LABELS brief TIMEOUT 600 ENV ${exercisers} SEED=1)
dv_mount_test(data_exerciser_hash SCRIPT data_exerciser TIMEOUT 600
	ENV ${exercisers} SEED=101 SEEDS=2 BACKING=ext4 TRANSFORM=hash:sha256:2x2)
dv_mount_test(exerciser_ext4 SCRIPT exerciser TIMEOUT 600
	ENV ${exercisers} BACKING=ext4 SEED=11 SEEDS=3)

dv_mount_test(exerciser_suffix SCRIPT exerciser LABELS slow TIMEOUT 3600
	ENV ${exercisers} BACKING=ext4 SEED=31 SEEDS=12 STEPS=5000 SUFFIX=.txt)

# A million steps, and the same again on ext4.
foreach(backing tmpfs ext4)
	dv_mount_test(exerciser_long_${backing} SCRIPT exerciser LABELS slow TIMEOUT 14400
		ENV ${exercisers} BACKING=${backing} SEEDS=100 STEPS=10000)
	dv_mount_test(data_exerciser_long_${backing} SCRIPT data_exerciser LABELS slow TIMEOUT 14400
		ENV ${exercisers} BACKING=${backing} SEEDS=100 STEPS=10000)
endforeach()
