"""``python -m pyfastloop.httpclient URL...``"""

from pyfastloop.httpclient.blocking import main

if __name__ == "__main__":
    main()
