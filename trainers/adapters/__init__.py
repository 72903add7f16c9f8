"""What methods share: sites, attaching, factors, storing and export."""
