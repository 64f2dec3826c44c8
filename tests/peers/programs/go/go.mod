module peers

go 1.20
