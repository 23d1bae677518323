"""The demonstration: three real requests on a real estate, watched from outside."""
