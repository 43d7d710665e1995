# Sets the target floodgate_cuda: the CUDA runtime and the kernels behind cpp/src/cuda/runtime.h, or nothing.
# FLOODGATE_CUDA=AUTO builds them where a toolkit is found that knows every target.

set(FLOODGATE_CUDA_TARGETS 80-real 90-real 100)  # A100, H100 and H200, B200; and PTX for what comes later
set(FLOODGATE_CUDA_LEAST 12.8)                   # the first toolkit that knows sm_100

set(FLOODGATE_CUDA_FOUND OFF)
if(NOT FLOODGATE_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_ARCHITECTURES ${FLOODGATE_CUDA_TARGETS})
    find_package(CUDAToolkit ${FLOODGATE_CUDA_LEAST} QUIET)
    if(CUDAToolkit_FOUND)
      enable_language(CUDA)
      if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
        set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")  # nvcc has it since 12.0, which CMake 3.25 does not know
      endif()
      set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # linked by its target
      set(FLOODGATE_CUDA_FOUND ON)
    endif()
  endif()
  if(FLOODGATE_CUDA STREQUAL "ON" AND NOT FLOODGATE_CUDA_FOUND)
    message(FATAL_ERROR "FLOODGATE_CUDA=ON needs nvcc from a CUDA toolkit of version ${FLOODGATE_CUDA_LEAST} or later")
  endif()
endif()

if(FLOODGATE_CUDA_FOUND)
  message(STATUS "CUDA ${CUDAToolkit_VERSION}: kernels for ${FLOODGATE_CUDA_TARGETS}")
  add_library(floodgate_cuda STATIC cpp/src/cuda/runtime.cu cpp/src/cuda/view_kernel.cu cpp/src/cuda/nvjpeg_abi.cu)
  target_include_directories(floodgate_cuda PRIVATE cpp/include cpp/src)
  list(JOIN FLOODGATE_WARNINGS "," host_warnings)
  target_compile_options(floodgate_cuda PRIVATE -Werror=all-warnings -Xcompiler=${host_warnings} -Xptxas=-warn-spills,-Werror)
  set_target_properties(floodgate_cuda PROPERTIES CUDA_STANDARD 20 CUDA_EXTENSIONS OFF)
  target_link_libraries(floodgate_cuda PUBLIC CUDA::cudart_static)
  target_compile_definitions(floodgate_core PRIVATE FLOODGATE_HAS_CUDA)
else()
  message(STATUS "No CUDA: pictures are decoded and rendered on the CPU")
  add_library(floodgate_cuda INTERFACE)
endif()
