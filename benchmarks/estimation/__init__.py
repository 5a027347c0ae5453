"""What the case `estimation` is made of: laws, replicates of estimates, variances by quadrature, its picture."""
