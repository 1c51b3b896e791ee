"""Every recipe and network side by side, on wrinkled people of known shape and on photos. `fitkit eval networks` calls it.

    wrinkled_people.py    pictures by Mitsuba of people with wrinkles, and what is true of each pixel
    comparison.py         every recipe on every picture, measured
    page.py               the table and the pictures as one HTML file
"""
