"""From records to what people see. Pure; every face renders these and computes nothing itself."""
