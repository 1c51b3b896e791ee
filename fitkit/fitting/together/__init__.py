"""Photos of one person fitted together: what they share, by what is known of their cameras.

    descent.py    a recipe's problem of one photo -> the descent over several: one identity and albedo; one lens; one instant
    cameras.py    whether known cameras fit the photos, and the head in their world that was found
"""
