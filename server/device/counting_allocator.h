// The CPU allocator of LibTorch that charges every tensor's storage to a MemoryAccount.
#ifndef TIGHTFIT_SERVER_DEVICE_COUNTING_ALLOCATOR_H_
#define TIGHTFIT_SERVER_DEVICE_COUNTING_ALLOCATOR_H_

namespace tightfit {

// Installs it for the process. Call before any tensor exists and before a second thread starts;
// calling again does nothing. Each allocation is charged, at the size that was asked for, to the
// account that is current on the allocating thread, and credited to the same account when it is
// freed on any thread. Storage is aligned to 64 bytes. Does what ReturnFreedBlocksToTheSystem does.
//
// Freed activations of that size are kept for the next ones instead, up to 192 MiB, until
// ReleaseCachedBlocks: they belong to no account.
void InstallCountingAllocator();

// Makes glibc return freed blocks of 1 MiB and more to the system at once: without it a process
// keeps the memory of every weight that it has released.
void ReturnFreedBlocksToTheSystem();

void ReleaseCachedBlocks();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_DEVICE_COUNTING_ALLOCATOR_H_
