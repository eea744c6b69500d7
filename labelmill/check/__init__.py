"""Every mistake of a job, found before anything is spent."""
