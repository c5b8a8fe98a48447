// Whether a sanitizer watches the programs under test.
#ifndef TIGHTFIT_TESTS_SUPPORT_SANITIZERS_H_
#define TIGHTFIT_TESTS_SUPPORT_SANITIZERS_H_

namespace tightfit {

// Shadow memory, redzones and what is kept after it was freed make a process several times larger,
// and checks make it several times slower: what a process promises of its resident memory and of
// the processor's time holds in builds without a sanitizer. Tests do everything else, and leave out
// just these bounds.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_SUPPORT_SANITIZERS_H_
