"""The words and weights that seeded rows are made of. No word holds a tab, newline or backslash."""

from music.models import Song, User


def _words(text: str) -> list[str]:
    return text.split()


LANGUAGE_WEIGHTS = {
    Song.Language.HINDI.value: 34,
    Song.Language.ENGLISH.value: 27,
    Song.Language.PUNJABI.value: 13,
    Song.Language.TAMIL.value: 9,
    Song.Language.TELUGU.value: 8,
    Song.Language.BENGALI.value: 5,
    Song.Language.MARATHI.value: 4,
}

# Per language, and per script that its titles are written in: openings and endings of a title.
TITLE_WORDS = {
    Song.Language.HINDI.value: [
        (_words("तेरी मेरी दिल सपनों चाँद सावन इश्क़ बारिश"), ["का सफ़र", "की बातें", "की रात", "और ज़िंदगी", "के रंग"]),
        (
            _words("Dil Ishq Chand Saawan Khwaab Baarish"),
            ["Ki Baatein", "Ka Safar", "Aur Zindagi", "Ki Yaadein"],
        ),
    ],
    Song.Language.ENGLISH.value: [
        (
            _words("Midnight Golden Electric Broken Summer Silver Velvet Neon Distant Wild Café"),
            _words("Rain Hearts Highway Skies Echoes Fire Letters Dreams Tonight Déjà-Vu"),
        ),
    ],
    Song.Language.PUNJABI.value: [
        (_words("ਦਿਲ ਇਸ਼ਕ ਯਾਰ ਰਾਤ"), ["ਦੀ ਗੱਲ", "ਦਾ ਮੇਲਾ", "ਦਾ ਰੰਗ"]),
        (_words("Yaar Ishq Jatt Munda Sohna Gabru"), ["Di Gal", "Nachda", "Da Swag", "Tere Naal"]),
    ],
    Song.Language.TAMIL.value: [
        (_words("காதல் மழை நிலா கனவு"), _words("பாடல் நேரம் வா")),
        (_words("Kadhal Mazhai Nila Uyire"), _words("Paadal Neram Vaa Kanavu")),
    ],
    Song.Language.TELUGU.value: [
        (_words("ప్రేమ వెన్నెల మనసు"), _words("పాట కథ")),
        (_words("Prema Vennela Manasu Nuvve"), _words("Paata Katha Raave Nenu")),
    ],
    Song.Language.BENGALI.value: [
        (_words("ভালোবাসা বৃষ্টি মন"), _words("গান রাত")),
        (_words("Bhalobasha Brishti Mon Tumi"), _words("Gaan Raat Amar Tomake")),
    ],
    Song.Language.MARATHI.value: [
        (_words("प्रेम पाऊस मन"), _words("गाणे वाट")),
        (_words("Prem Paaus Man Sakhi"), _words("Gaane Vaat Tuzya Majhe")),
    ],
}

# A third of the titles carry a suffix.
TITLE_SUFFIXES = [*[""] * 8, " (Remix)", " (Live)", " [Unplugged]", " (Reprise)"]

FIRST_NAMES = _words(
    "Aarav Aditi Ananya Arjun Deepika Diya Farhan Fatima Gurpreet Harsh Isha Ishaan Kabir Kavya Kiran "
    "Lakshmi Meera Mohammed Neha Nikhil Pooja Priya Rahul Riya Rohan Sanjay Sara Shreya Simran Sneha "
    "Tanvi Varun Vikram Vivek Zoya Emma James María Noah Olivia"
)
LAST_NAMES = _words(
    "Sharma Verma Gupta Singh Kaur Khan Patel Reddy Nair Iyer Menon Das Banerjee Mukherjee Joshi Kulkarni "
    "Deshmukh Chatterjee Rao Pillai Malhotra Kapoor Bose Fernandes D'Souza Mehta Shah Yadav Mishra Smith"
)
MAIL_DOMAINS = [*["gmail.com"] * 6, *["outlook.com"] * 2, "yahoo.in", "example.org"]

GENRES = [*["film"] * 4, *["pop"] * 2, "indie", "devotional", "folk", "hip-hop", "classical", ""]

PREFERRED_LANGUAGES = [User.PreferredLanguage.ENGLISH.value] * 5 + [User.PreferredLanguage.HINDI.value] * 4
AUDIO_QUALITIES = [
    *[User.AudioQuality.KBPS_192.value] * 6,
    *[User.AudioQuality.KBPS_320.value] * 3,
    User.AudioQuality.KBPS_128.value,
]
THEMES = [*["dark"] * 3, "light", "system"]
