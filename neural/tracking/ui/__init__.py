"""The comparison page: shows runs side by side in a browser.

``server`` starts it, ``app`` builds it, ``guard`` decides which requests are answered, ``address`` is the state
in the URL. ``views`` has a file for each tab, ``charts`` makes figures, ``data`` reads runs and needs no Dash.
The page reads only run folders, so an open page costs collector and training nothing.
"""
