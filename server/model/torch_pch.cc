// Carries the precompiled LibTorch header that every file of model/ and pipeline/ reuses.
