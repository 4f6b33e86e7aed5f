"""A stand-in for captioners and grounders: an OpenAI-compatible endpoint that plays them from the hidden truth of its images.

It sees nothing. It knows an image that it is sent by its bytes or pixels, and says what the truth of the scene says, in words
of its own and with as many errors as it is told to make. Its models are called ``stand-in-...``, so that whatever it wrote says so.
"""
