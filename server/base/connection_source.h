// ConnectionSource: accepts, and goes on accepting where a process has run out of descriptors.
#ifndef TIGHTFIT_SERVER_BASE_CONNECTION_SOURCE_H_
#define TIGHTFIT_SERVER_BASE_CONNECTION_SOURCE_H_

#include "server/base/file_descriptor.h"
#include "server/base/peer_address.h"

namespace tightfit {

// Not thread-safe. Keeps one descriptor in reserve, to take connections with that can only be
// closed: left in the backlog they would wait for ever, and keep others out.
class ConnectionSource {
 public:
  enum class Outcome {
    kAccepted,
    kNothing,  // nobody waits
    kRefused,  // one was closed for want of a descriptor
    kBackOff,  // the system has no room at all: try again a little later
  };

  ConnectionSource();

  // The next connection of `listener`: non-blocking, close-on-exec, without delay for small
  // packets.
  Outcome Accept(int listener, FileDescriptor* connection, PeerAddress* peer);

 private:
  FileDescriptor spare_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_CONNECTION_SOURCE_H_
