// What a graph of a model may do: pure functions of tensors, and the plumbing between them. Nothing
// here reads or writes files, starts processes or threads, or runs Python.
#ifndef TIGHTFIT_SERVER_MODEL_OPERATOR_ALLOWLIST_H_
#define TIGHTFIT_SERVER_MODEL_OPERATOR_ALLOWLIST_H_

#include <string_view>

namespace tightfit {

// `kind` is a node's qualified name: "aten::linear", "prim::GetAttr".
bool IsAllowedOperator(std::string_view kind);

// "forward", or "forward1" ... for the second and later calls of one module in a trace.
bool IsForwardMethod(std::string_view name);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_OPERATOR_ALLOWLIST_H_
