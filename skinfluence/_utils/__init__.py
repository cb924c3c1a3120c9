"""What every room stands on and no user imports."""
