"""What may vary in a sweep: pure data, free of torch, Ray and MLflow."""
