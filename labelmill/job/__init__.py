"""What is wanted: the job, its file, its checks."""
