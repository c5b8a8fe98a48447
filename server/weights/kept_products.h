// KeptProducts: what Linears gave for one input that stays the same from call to call, computed
// once: keys and values of a prompt, which cross attention would compute again in every step.
//
//   KeptProducts kept(text);                 // what the calls will be given
//   kept.Keep(weight, product);
//   const ScopedKeptProducts scope(&kept);   // around each call: tightfit::linear asks it
//
// A call gives the same bits with and without, since nothing but the same product for the same
// input is taken from here.
#ifndef TIGHTFIT_SERVER_WEIGHTS_KEPT_PRODUCTS_H_
#define TIGHTFIT_SERVER_WEIGHTS_KEPT_PRODUCTS_H_

#include "server/weights/weight.h"

#include <cstdint>
#include <unordered_map>
#include <utility>

namespace tightfit {

// For one thread. Weights must outlive the calls that ask.
class KeptProducts {
 public:
  explicit KeptProducts(at::Tensor input) : input_(std::move(input)) {}

  void Keep(const Weight& weight, at::Tensor product);
  // nullptr if there is none, or `x` is not the input itself: the same memory in the same shape.
  const at::Tensor* Find(const at::Tensor& x, const Weight& weight) const;

 private:
  const at::Tensor input_;
  std::unordered_map<const Weight*, at::Tensor> products_;
};

// Lets the calling thread's products be taken from `kept` until its end; null: from nowhere.
class ScopedKeptProducts {
 public:
  explicit ScopedKeptProducts(const KeptProducts* kept);
  ~ScopedKeptProducts();
  ScopedKeptProducts(const ScopedKeptProducts&) = delete;
  ScopedKeptProducts& operator=(const ScopedKeptProducts&) = delete;

 private:
  const KeptProducts* const before_;
};

// What the calling thread takes products from; nullptr: nothing.
const KeptProducts* CurrentKeptProducts();

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_KEPT_PRODUCTS_H_
