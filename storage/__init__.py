"""What stays on disk: SQL, vectors and blobs. No torch, no HTTP."""
