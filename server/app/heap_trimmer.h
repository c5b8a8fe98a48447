// HeapTrimmer: freed memory goes back to the system. glibc keeps what its arenas free, so a burst
// of calls, or of streams that are reset as soon as they are opened, would stay in the process and
// look like its own use.
#ifndef TIGHTFIT_SERVER_APP_HEAP_TRIMMER_H_
#define TIGHTFIT_SERVER_APP_HEAP_TRIMMER_H_

#include <condition_variable>
#include <mutex>
#include <thread>

namespace tightfit {

// Sets how this process's heap grows. Before any other thread is started.
void SetUpHeap();

// Looks at the heap several times a second, and trims it where much of it is free.
class HeapTrimmer {
 public:
  HeapTrimmer();
  ~HeapTrimmer();
  HeapTrimmer(const HeapTrimmer&) = delete;
  HeapTrimmer& operator=(const HeapTrimmer&) = delete;

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_HEAP_TRIMMER_H_
