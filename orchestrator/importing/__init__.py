"""Results that were published and not run here, read from files into a sweep's experiment."""
