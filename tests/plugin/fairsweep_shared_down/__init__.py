"""A method for fairsweep, in a package of its own."""
