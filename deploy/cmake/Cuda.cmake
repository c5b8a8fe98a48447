# The CUDA compiler, wherever it comes from: a toolkit in /usr/local/cuda, one on PATH, or the
# wheels that deploy/install.sh puts into the virtual environment. Plain commands in place of
# CMake's CUDA language: that cannot link with the wheels' folders, and CMake 3.25 knows no C++20
# for this nvcc.
#
# TIGHTFIT_CUDA_FOUND                     whether CUDA code is built
# TIGHTFIT_CUDA_MISSING                   why not
# tightfit_cudart                         the runtime library and its headers
# tightfit_cuda_objects(VARIABLE file...) compiles .cu files; VARIABLE receives the objects
set(TIGHTFIT_WITH_CUDA AUTO CACHE STRING
    "Build the CUDA kernels: ON, OFF, or AUTO, which means where a compiler is found")
set_property(CACHE TIGHTFIT_WITH_CUDA PROPERTY STRINGS AUTO ON OFF)
set(TIGHTFIT_CUDA_ARCHITECTURES 80 86 89 90 120 CACHE STRING "Devices that kernels are built for")
set(_minimum 12.8)

find_program(TIGHTFIT_NVCC nvcc HINTS /usr/local/cuda/bin
             PATHS ${TIGHTFIT_SITE_PACKAGES}/nvidia/cu13/bin
             DOC "The CUDA compiler")
set(TIGHTFIT_CUDA_FOUND OFF)
set(TIGHTFIT_CUDA_MISSING "")
if(NOT TIGHTFIT_WITH_CUDA)
  set(TIGHTFIT_CUDA_MISSING "TIGHTFIT_WITH_CUDA is off")
elseif(NOT TIGHTFIT_NVCC)
  set(TIGHTFIT_CUDA_MISSING "no nvcc in /usr/local/cuda, on PATH or in .venv")
else()
  execute_process(COMMAND ${TIGHTFIT_NVCC} --version OUTPUT_VARIABLE _version ERROR_QUIET)
  string(REGEX MATCH "V([0-9.]+)" _version "${_version}")
  set(_version "${CMAKE_MATCH_1}")
  file(REAL_PATH ${TIGHTFIT_NVCC} _nvcc)
  cmake_path(GET _nvcc PARENT_PATH _root)
  cmake_path(GET _root PARENT_PATH _root)
  find_library(TIGHTFIT_CUDART NAMES cudart libcudart.so.13 libcudart.so.12
               HINTS ${_root}/lib64 ${_root}/lib NO_DEFAULT_PATH DOC "The CUDA runtime library")
  if(_version VERSION_LESS ${_minimum})
    set(TIGHTFIT_CUDA_MISSING "${TIGHTFIT_NVCC} is version ${_version}, older than ${_minimum}")
  elseif(NOT TIGHTFIT_CUDART OR NOT EXISTS ${_root}/include/cuda_runtime_api.h)
    set(TIGHTFIT_CUDA_MISSING "no runtime library and headers beside ${TIGHTFIT_NVCC}")
  else()
    set(TIGHTFIT_CUDA_FOUND ON)
  endif()
endif()

if(TIGHTFIT_CUDA_FOUND)
  message(STATUS "CUDA ${_version}: ${TIGHTFIT_NVCC}")
  add_library(tightfit_cudart SHARED IMPORTED)
  set_target_properties(tightfit_cudart PROPERTIES IMPORTED_LOCATION ${TIGHTFIT_CUDART}
                        INTERFACE_INCLUDE_DIRECTORIES ${_root}/include)
elseif(TIGHTFIT_WITH_CUDA STREQUAL "AUTO" OR NOT TIGHTFIT_WITH_CUDA)
  message(STATUS "Without CUDA: ${TIGHTFIT_CUDA_MISSING}")
else()
  message(FATAL_ERROR "TIGHTFIT_WITH_CUDA: ${TIGHTFIT_CUDA_MISSING}")
endif()

# nvcc's host compiler is g++, also where the C++ code is compiled by another.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(_host ${CMAKE_CXX_COMPILER})
else()
  set(_host g++)
endif()
# FORMATS.md rounds every product and sum by itself: no fused ones.
set(TIGHTFIT_NVCC_FLAGS -std=c++20 -O3 --fmad=false --expt-relaxed-constexpr -ccbin ${_host}
    -Xcompiler=-fPIC,-ffp-contract=off,-Wall,-Wno-unknown-pragmas)
if(TIGHTFIT_WARNINGS_AS_ERRORS)
  list(APPEND TIGHTFIT_NVCC_FLAGS -Werror all-warnings)
endif()
foreach(_architecture IN LISTS TIGHTFIT_CUDA_ARCHITECTURES)
  list(APPEND TIGHTFIT_NVCC_FLAGS
       -gencode arch=compute_${_architecture},code=sm_${_architecture})
endforeach()
# For devices between and beyond these the driver compiles from this.
list(APPEND TIGHTFIT_NVCC_FLAGS -gencode arch=compute_90,code=compute_90)

function(tightfit_cuda_objects variable)
  set(_objects)
  foreach(_source IN LISTS ARGN)
    cmake_path(ABSOLUTE_PATH _source)
    cmake_path(GET _source FILENAME _name)
    set(_object ${CMAKE_CURRENT_BINARY_DIR}/${_name}.o)
    add_custom_command(
      OUTPUT ${_object}
      COMMAND ${TIGHTFIT_NVCC} ${TIGHTFIT_NVCC_FLAGS} -I${PROJECT_SOURCE_DIR}
              -MD -MF ${_object}.d -c ${_source} -o ${_object}
      DEPENDS ${_source} DEPFILE ${_object}.d
      COMMENT "Building CUDA object ${_name}.o" VERBATIM COMMAND_EXPAND_LISTS)
    set_source_files_properties(${_object} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
    list(APPEND _objects ${_object})
  endforeach()
  set(${variable} ${_objects} PARENT_SCOPE)
endfunction()
