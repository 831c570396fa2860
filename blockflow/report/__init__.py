"""What people look at: pictures of arrays, and a small generated volume to try things on."""
