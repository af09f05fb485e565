"""What dynafs costs and how fast it is, alone, against an earlier commit and beside other systems."""
