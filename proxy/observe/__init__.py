"""What people and machines can see of a proxy: the ledger, the apps, metrics, logs."""
