#include "server/device/compute_device.h"

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace tightfit {

void SetThreadDevice(at::Device device) {
  if (!device.is_cuda()) return;
  c10::impl::VirtualGuardImpl(device.type()).setDevice(device);
}

void StartDeviceLibraries(at::Device device) {
  if (!device.is_cuda()) return;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor ones = at::ones({64, 64}, at::TensorOptions().dtype(dtype).device(device));
    at::linear(ones, ones, ones[0]);
    at::matmul(ones, ones);
  }
  Synchronize(device);
}

void Synchronize(at::Device device) {
  if (!device.is_cuda()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.synchronizeStream(guard.getStream(device));
}

void ReleaseDeviceCache(at::Device device) {
  if (!device.is_cuda()) return;
  c10::getDeviceAllocator(device.type())->emptyCache();
}

}  // namespace tightfit
