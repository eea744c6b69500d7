"""What is asked of a text, and what an answer amounts to. Nothing here knows who is asked, or how."""
