# Adds a column; run by the corpus's command stages, which are only checked.
import sys
print(sys.argv)
