// What makes a request nameable and repeatable where the client left it open: its id and its seed.
#ifndef TIGHTFIT_SERVER_RPC_REQUEST_IDENTITY_H_
#define TIGHTFIT_SERVER_RPC_REQUEST_IDENTITY_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace tightfit {

// 1 to 64 characters of [A-Za-z0-9._-].
bool IsRequestId(std::string_view id);

// A random UUID (version 4): "3f2b8c1e-6d0a-4c5b-9e7f-0a1b2c3d4e5f".
std::string MakeRequestId();

// Uniform in [0, 2^32): the range that other interfaces draw from, so a seed can be typed anywhere.
int64_t DrawSeed();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_REQUEST_IDENTITY_H_
