// Storage on a CUDA device, charged to MemoryAccounts as counting_allocator.h charges a CPU's.
#ifndef TIGHTFIT_SERVER_DEVICE_DEVICE_ACCOUNTS_H_
#define TIGHTFIT_SERVER_DEVICE_DEVICE_ACCOUNTS_H_

namespace tightfit {

// From now on what LibTorch's allocator of a device gives to this thread is charged, at the size of
// its block, to the account that is current on the thread, and credited to the same account when
// the thread frees it. LibTorch tells each thread of its own allocations alone, so the one thread
// that runs LibTorch calls this. Calling again does nothing.
void ChargeDeviceMemoryOfThisThread();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_DEVICE_DEVICE_ACCOUNTS_H_
