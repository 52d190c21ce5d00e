"""One verb a file, generic over the resource: values in, values out; raising an ApiError is replying."""
