"""Data sets read under their names from the files as they were published: where they lie, what is in them, how many.

A data set is a row of `PUBLISHED`; counts are those of its own README or page, never of another's copy.
"""

from typing import NamedTuple

_TIMED = ("user_id", "item_id", "rating", "timestamp")


class Counts(NamedTuple):
    """What the publishers counted; a text such as "632.0K" is rounded, None is not told."""

    interactions: int | str | None = None
    users: int | str | None = None
    items: int | str | None = None


class Published(NamedTuple):
    """One data set, as its publishers have it."""

    files: tuple[str, ...]  # names of the file with interactions, of which one is read; it may be packed
    folder: str  # where it lies within the archive, or where people unpack it
    archive: str | None  # that holds it, as it is downloaded; None where the file is downloaded itself
    page: str  # where it comes from
    counts: Counts
    says: str = ""  # what to know of it
    header: tuple[str, ...] | None = None  # of files without one
    columns: str | None = None  # user, item and rating, where their names leave it open
    encoding: str | None = None
    has_quotes: bool = True  # else a quote is a letter, as in names of artists
    not_counted: tuple[str, ...] = ()  # whose counts are not those of the file: of users registered, of items listed
    fewer_in: str = ""  # the end of the names of files with fewer interactions than were counted


_MOVIELENS = "https://grouplens.org/datasets/movielens/"
_LISTED = "its README counts all movies listed, rated or not"

_AMAZON = {  # users, items, ratings
    "All_Beauty": ("632.0K", "112.6K", "701.5K"),
    "Amazon_Fashion": ("2.0M", "825.9K", "2.5M"),
    "Appliances": ("1.8M", "94.3K", "2.1M"),
    "Arts_Crafts_and_Sewing": ("4.6M", "801.3K", "9.0M"),
    "Automotive": ("8.0M", "2.0M", "20.0M"),
    "Baby_Products": ("3.4M", "217.7K", "6.0M"),
    "Beauty_and_Personal_Care": ("11.3M", "1.0M", "23.9M"),
    "Books": ("10.3M", "4.4M", "29.5M"),
    "CDs_and_Vinyl": ("1.8M", "701.7K", "4.8M"),
    "Cell_Phones_and_Accessories": ("11.6M", "1.3M", "20.8M"),
    "Clothing_Shoes_and_Jewelry": ("22.6M", "7.2M", "66.0M"),
    "Digital_Music": ("101.0K", "70.5K", "130.4K"),
    "Electronics": ("18.3M", "1.6M", "43.9M"),
    "Gift_Cards": ("132.7K", "1.1K", "152.4K"),
    "Grocery_and_Gourmet_Food": ("7.0M", "603.2K", "14.3M"),
    "Handmade_Products": ("586.6K", "164.7K", "664.2K"),
    "Health_and_Household": ("12.5M", "797.4K", "25.6M"),
    "Health_and_Personal_Care": ("461.7K", "60.3K", "494.1K"),
    "Home_and_Kitchen": ("23.2M", "3.7M", "67.4M"),
    "Industrial_and_Scientific": ("3.4M", "427.5K", "5.2M"),
    "Kindle_Store": ("5.6M", "1.6M", "25.6M"),
    "Magazine_Subscriptions": ("60.1K", "3.4K", "71.5K"),
    "Movies_and_TV": ("6.5M", "747.8K", "17.3M"),
    "Musical_Instruments": ("1.8M", "213.6K", "3.0M"),
    "Office_Products": ("7.6M", "710.4K", "12.8M"),
    "Patio_Lawn_and_Garden": ("8.6M", "851.7K", "16.5M"),
    "Pet_Supplies": ("7.8M", "492.7K", "16.8M"),
    "Software": ("2.6M", "89.2K", "4.9M"),
    "Sports_and_Outdoors": ("10.3M", "1.6M", "19.6M"),
    "Subscription_Boxes": ("15.2K", "641", "16.2K"),
    "Tools_and_Home_Improvement": ("12.2M", "1.5M", "27.0M"),
    "Toys_and_Games": ("8.1M", "890.7K", "16.3M"),
    "Unknown": ("23.1M", "13.2M", "63.8M"),
    "Video_Games": ("2.8M", "137.2K", "4.6M"),
}
AMAZON = "amazon-2023-"  # before the name of a category


def _amazon(category: str, users: str, items: str, ratings: str) -> Published:
    return Published(
        files=(f"{category}.jsonl", f"{category}.csv"),
        folder="amazon-2023",
        archive=None,
        page="https://amazon-reviews-2023.github.io",
        counts=Counts(ratings, users, items),
        says="reviews (jsonl), or pairs without repeats (csv of 0core/rating_only), which are fewer than the ratings",
        columns="user_id,parent_asin,rating",
        fewer_in=".csv",
    )


PUBLISHED = {
    "ml-100k": Published(
        files=("u.data",),
        folder="ml-100k",
        archive="ml-100k.zip",
        page=_MOVIELENS + "100k/",
        counts=Counts(100_000, 943, 1_682),
        header=_TIMED,
    ),
    "ml-1m": Published(
        files=("ratings.dat",),
        folder="ml-1m",
        archive="ml-1m.zip",
        page=_MOVIELENS + "1m/",
        counts=Counts(1_000_209, 6_040),
        says="its README tells of about 3,900 movies, rated or not",
        header=_TIMED,
    ),
    "ml-20m": Published(
        files=("ratings.csv",),
        folder="ml-20m",
        archive="ml-20m.zip",
        page=_MOVIELENS + "20m/",
        counts=Counts(20_000_263, 138_493, 27_278),
        says=_LISTED,
        not_counted=("items",),
    ),
    "ml-32m": Published(
        files=("ratings.csv",),
        folder="ml-32m",
        archive="ml-32m.zip",
        page=_MOVIELENS + "32m/",
        counts=Counts(32_000_204, 200_948, 87_585),
        says=_LISTED,
        not_counted=("items",),
    ),
    "lastfm-2k": Published(
        files=("user_artists.dat",),
        folder="hetrec2011-lastfm-2k",
        archive="hetrec2011-lastfm-2k.zip",
        page="https://grouplens.org/datasets/hetrec-2011/",
        counts=Counts(92_834, 1_892, 17_632),
        says="the value is how often a user played an artist",
        columns="userID,artistID,weight",
    ),
    "lastfm-360k": Published(
        files=("usersha1-artmbid-artname-plays.tsv",),
        folder="lastfm-dataset-360K",
        archive="lastfm-dataset-360K.tar.gz",
        page="https://zenodo.org/records/6090214",
        counts=Counts(17_559_530, 359_347),
        says="items are names of artists, since not all have a number; the value is how often a user played an artist",
        header=("user_id", "artist_mbid", "artist_name", "plays"),
        columns="user_id,artist_name,plays",
        has_quotes=False,
    ),
    "steam": Published(
        files=("steam_reviews.json", "steam_new.json"),
        folder="steam",
        archive=None,
        page="https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
        counts=Counts(7_793_069, 2_567_538, 15_474),
        says="lines in Python's notation, which take minutes; users are told by name",
        columns="username,product_id",
    ),
    "book-crossing": Published(
        files=("BX-Book-Ratings.csv",),
        folder="BX-CSV-Dump",
        archive="BX-CSV-Dump.zip",
        page="http://www2.informatik.uni-freiburg.de/~cziegler/BX/",
        counts=Counts(1_149_780, 278_858, 271_379),
        says="a rating of 0 is implicit; its page counts users registered and books listed",
        columns="User-ID,ISBN,Book-Rating",
        encoding="latin-1",
        not_counted=("users", "items"),
    ),
    "douban": Published(
        files=("uir.index",),
        folder="douban",
        archive=None,
        page="Ma, Zhou, Liu, Lyu and King, Recommender Systems with Social Regularization, WSDM 2011",
        counts=Counts(16_830_839, 129_490, 58_541),
        says="user item rating between blanks; its page (www.cse.cuhk.edu.hk/irwin.king.new/pub/data/douban) has gone",
        header=("user_id", "item_id", "rating"),
    ),
    **{AMAZON + category: _amazon(category, *counts) for category, counts in _AMAZON.items()},
}


def in_words(count: int | str | None) -> str:
    """A count as people read it: 100,004, or as its publishers rounded it; "" where they do not tell."""
    return f"{count:,}" if isinstance(count, int) else count or ""


def is_near(count: int, told: int | str | None) -> bool:
    """Whether a count is the one told, or rounds to it."""
    if told is None or isinstance(told, int):
        return told is None or count == told
    unit = {"K": 1_000, "M": 1_000_000}.get(told[-1], 1)
    number = told.rstrip("KM")
    half = unit * 10.0 ** -len(number.partition(".")[2]) / 2
    return abs(count - float(number) * unit) <= half
