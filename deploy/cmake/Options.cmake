# Flags of our own targets, carried by one INTERFACE target. Nothing here touches third parties.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

# kernels/ sets -O3 for itself. Folders that wait for the network, for files or for people have no
# hot loop, and compile faster so (docs/benchmarks.md, Set-up).
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(TIGHTFIT_FLAGS_WITHOUT_HOT_LOOPS "-O1 -DNDEBUG")

add_library(tightfit_options INTERFACE)
target_include_directories(tightfit_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(tightfit_options INTERFACE
  -Wall -Wextra -Wnon-virtual-dtor -Wvla -Wcast-align -Wno-missing-field-initializers
  $<$<BOOL:${TIGHTFIT_WARNINGS_AS_ERRORS}>:-Werror>
  # Asserts name their files from the root: where programs were built is nobody's business.
  -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
# GCC 12 sees overlapping copies in every `"literal" + std::string` at -O3 (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(tightfit_options INTERFACE -Wno-restrict)
endif()

if(TIGHTFIT_SANITIZE)
  target_compile_options(tightfit_options INTERFACE
    -fsanitize=${TIGHTFIT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(tightfit_options INTERFACE -fsanitize=${TIGHTFIT_SANITIZE})
  # Reports need lines; where variables lie in a codec takes GCC minutes more.
  target_compile_options(tightfit_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-g1>)
else()
  target_compile_options(tightfit_options INTERFACE
    $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2> -fstack-protector-strong)
  target_link_options(tightfit_options INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endif()

# libFuzzer follows which edges of our code an input takes.
if(TIGHTFIT_BUILD_FUZZERS)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "TIGHTFIT_BUILD_FUZZERS needs clang: apt-get install clang "
                        "libclang-rt-14-dev, then cmake --preset fuzz")
  endif()
  target_compile_options(tightfit_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Each instruction set takes minutes under sanitizers. Where these look for other things than what a
# codec reads and writes, there is one: this machine's.
if(TIGHTFIT_BUILD_FUZZERS OR TIGHTFIT_SANITIZE STREQUAL "thread")
  target_compile_options(tightfit_options INTERFACE -march=native)
  target_compile_definitions(tightfit_options INTERFACE HWY_COMPILE_ONLY_STATIC)
endif()

find_program(TIGHTFIT_LINKER_MOLD mold)
if(TIGHTFIT_LINKER_MOLD)
  target_link_options(tightfit_options INTERFACE -fuse-ld=mold)
endif()

# Headers of gRPC, protobuf and LibTorch take most of a compile: eight files that share them take
# little longer than one. A change of one file then compiles eight, so developers' presets do not.
option(TIGHTFIT_UNITY_BUILD "Compile the files of a library eight at a time" OFF)

# tightfit_library(NAME SOURCES... [PUBLIC lib...] [PRIVATE lib...]): one static library per layer.
function(tightfit_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC tightfit_options ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  set_target_properties(${name} PROPERTIES
    UNITY_BUILD ${TIGHTFIT_UNITY_BUILD} UNITY_BUILD_BATCH_SIZE 8)
endfunction()
